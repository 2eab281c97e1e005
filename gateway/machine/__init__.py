"""What a stack asks of this machine: free ports and addresses, child processes, whether they answer."""
