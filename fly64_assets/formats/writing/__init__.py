"""Writers: data sets and reconstructions as files of other programs; equal content is equal bytes."""
