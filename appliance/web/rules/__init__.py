"""Alert rules: the list, the editor in sentences with its preview, and the API."""
