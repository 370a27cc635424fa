"""From the spool into the tables: what events mean for runs, and who takes them in."""
