"""The demo: one day of a support desk on the market, played at high speed over real HTTP against simulated upstreams."""
