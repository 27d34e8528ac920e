"""DATA-001, the data contract: what a data set file holds, how it is written, read, judged and converted."""
