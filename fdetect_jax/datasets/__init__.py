"""Downloads to shards of face crops: layouts of public data sets, preparation, and checks of a download."""
