"""The engine: any loss in, its induced target out. It names no loss."""
