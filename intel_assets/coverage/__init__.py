"""Coverage: for every source and expected day, how it stands, why, and what is to be done."""
