"""Dense training, static layers, distillation."""
