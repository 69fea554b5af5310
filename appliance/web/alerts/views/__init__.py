"""The pages of alerts, one module a page: the list, one alert, the steps of one and of many."""
