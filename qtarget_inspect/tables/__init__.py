"""Tables: records as DataFrames, and DataFrames as Markdown, LaTeX, HTML, CSV and JSON."""
