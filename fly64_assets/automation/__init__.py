"""When assets are built without being asked for, and how runs are partitioned, named and tagged in Dagster."""
