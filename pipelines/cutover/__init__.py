"""The switch: phases, parity, policy and journal of the way from a legacy protocol to Graph."""
