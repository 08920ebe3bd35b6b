"""HTTP and the web page: questions of many people, one model."""
