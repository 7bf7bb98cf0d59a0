"""Pages and pictures of every report. Numbers come in; none is computed here."""
