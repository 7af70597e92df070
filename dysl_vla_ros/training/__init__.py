"""Offline: demonstrations, training, calibration and two-stage distillation."""
