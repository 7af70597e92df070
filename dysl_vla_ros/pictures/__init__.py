"""Pictures out of messages and files -> RGB: one way, for the robot and for all that is offline.

What a policy is trained on, replayed with or shown beside goes through here, and so does what the
node gives it: the same pixels, the same limits, the same words where something is wrong.
"""
