"""Networks in plain torch: those that ship as demos or drive the library without a host, and those the host lacks."""
