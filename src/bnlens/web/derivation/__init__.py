"""The theory sheet as pages: its sections with the claims and labs that they carry, and the code that computes them."""
