"""From the tables to records, arrays and tables: which statements, and what comes of them."""
