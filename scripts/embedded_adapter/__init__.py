"""The text the embedded adapter is trained on, and the text it is judged by: see README.md."""
