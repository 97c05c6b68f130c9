# The CDN of docker-compose.yml: one file for all of its machines; each runs its
# node. Regions are networks of 198.18.0.0/15 (RFC 2544), which no map knows: the
# overrides say where they are.

geodata {
  override "198.18.1.0/24" { place = "São Paulo, SP, BR" }
  override "198.18.2.0/24" { place = "Ashburn, VA, US" }
  override "198.18.3.0/24" { place = "Frankfurt am Main, DE" }
  override "198.18.4.0/24" { place = "Tokyo, JP" }
}

pop "sa-east" {
  place = "São Paulo, SP, BR"
  edge "sa-east-1" { addresses = ["198.18.1.11"] }
  edge "sa-east-2" { addresses = ["198.18.1.12"] }
}
pop "us-east" {
  place = "Ashburn, VA, US"
  edge "us-east-1" { addresses = ["198.18.2.11"] }
}
pop "eu-central" {
  place = "Frankfurt am Main, DE"
  edge "eu-central-1" { addresses = ["198.18.3.11"] }
  edge "eu-central-2" { addresses = ["198.18.3.12"] }
}
pop "ap-northeast" {
  place = "Tokyo, JP"
  edge "ap-northeast-1" { addresses = ["198.18.4.11"] }
}

# The authoritative name servers, in two regions. The page reads the API of ns1 and of the
# edges.
node "ns1" {
  roles     = ["dns"]
  place     = "Ashburn, VA, US"
  addresses = ["198.18.2.53"]
  api       = ":8080"
  key       = "/run/perto/cluster.key"
}
node "ns2" {
  roles     = ["dns"]
  place     = "Frankfurt am Main, DE"
  addresses = ["198.18.3.53"]
  key       = "/run/perto/cluster.key"
}

node "sa-east-1" {
  roles = ["edge"]
  api   = ":8080"
  key   = "/run/perto/cluster.key"
}
node "sa-east-2" {
  roles = ["edge"]
  api   = ":8080"
  key   = "/run/perto/cluster.key"
}
node "us-east-1" {
  roles = ["edge"]
  api   = ":8080"
  key   = "/run/perto/cluster.key"
}
node "eu-central-1" {
  roles = ["edge"]
  api   = ":8080"
  key   = "/run/perto/cluster.key"
}
node "eu-central-2" {
  roles = ["edge"]
  api   = ":8080"
  key   = "/run/perto/cluster.key"
}
node "ap-northeast-1" {
  roles = ["edge"]
  api   = ":8080"
  key   = "/run/perto/cluster.key"
}

# The shop, where the content comes from.
node "origin" {
  roles     = ["origin"]
  place     = "Ashburn, VA, US"
  addresses = ["198.18.2.80"]
}

zone "cdn.example" { file = "cdn.example.zone" }

service "shop.cdn.example" {
  aliases = ["www.shop.example"]
  origin "http://origin.shop.example" {
    health = "/healthz"
  }
  map {
    ttl     = "20s"
    ttl_min = "5s"
  }
}
