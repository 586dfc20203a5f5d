"""What is handed over: a run's pages and card, tables of results, the report of a notebook."""
