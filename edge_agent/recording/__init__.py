"""A device on paper: the text file (`file`), what makes one of a device (`recorder`), and `edge-agent record` (`command`)."""
