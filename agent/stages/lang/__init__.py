"""The small languages that stages are written in, each as a pure function of text: wrong text is a ValueError."""
