"""Floor 4: the database. Tables, engines, the group-committing writer, leases and the queries on them."""
