"""A policy that runs elsewhere: the openpi protocol over a WebSocket, strictly."""
