"""When assets are built automatically, and how runs are partitioned, named and tagged in Dagster."""
