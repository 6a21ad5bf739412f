"""Methods that train as ever and then fit the last layer anew."""
