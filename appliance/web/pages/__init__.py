"""One module a page: its route, and the values its template shows."""
