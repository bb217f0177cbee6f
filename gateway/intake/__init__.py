"""What is asked, before it is a task: whether it makes sense, whether there is room, whether it was asked before."""
