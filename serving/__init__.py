"""What runs inside an image: one model behind HTTP. Imports nothing of the other rooms."""
