"""The JSON API's own frame: declarations beside the routes, the document made of them, and the form of errors."""
