"""Files of other programs and beamlines: arrays and metadata in and out, in the units and axes of DATA-001."""
