"""What others take: the engine as an IP block, with what an integrator needs beside it; a model as a state dict."""
