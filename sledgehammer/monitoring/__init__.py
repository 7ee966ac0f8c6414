"""Watch a model in use: whether the texts still are like those that it was made for. numpy alone."""
