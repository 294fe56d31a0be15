"""Analysis: what an induced target says, as frozen data; nothing is printed or drawn here, and no loss is named."""
