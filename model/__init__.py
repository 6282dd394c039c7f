"""What is computed: torch layers, the integer golden model, quantisation, data and training."""
