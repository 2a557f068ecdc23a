"""Call auctions: many held tasks cleared together over (offer, slot), and the rolling plan of capacity."""
