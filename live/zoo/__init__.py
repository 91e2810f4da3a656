"""Hold the models that this project trained, each with its card."""
