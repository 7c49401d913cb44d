"""The trusted side: challenges a keep, decides by the tenant's policy, delivers, and carries input and output."""
