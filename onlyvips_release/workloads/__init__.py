"""The instances of a service: started, promoted, removed. One file per way of running them."""
