"""Methods with a deliberately biased model, or a penalty on what is known of the bias."""
