"""One recipe to one video: the stock pipeline, its steps, its journal, one rank or several."""
