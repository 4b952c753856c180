"""strongSwan's end of a tunnel that is measured."""

CONNECTION = """
connections {{
  lab {{
    version = 2
    proposals = {ike}
    local_addrs = {here}
    remote_addrs = {there}
    local {{
      auth = psk
      id = {ours}
    }}
    remote {{
      auth = psk
      id = {theirs}
    }}
    children {{
      net {{
        local_ts = {local}
        remote_ts = {remote}
        esp_proposals = {esp}
      }}
    }}
  }}
}}
secrets {{
  ike-lab {{
    secret = "{secret}"
  }}
}}
"""
"""A pre-shared key and one child."""
