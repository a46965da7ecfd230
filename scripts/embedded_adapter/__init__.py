"""The text that the embedded adapter is trained on, and the text that it is judged by: see README.md."""
