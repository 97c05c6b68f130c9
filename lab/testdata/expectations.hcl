# Expectations for a perto world in one process (go test ./lab -run Expectations) and in
# containers (scripts/compose-test). Package internal/test/expect reads this list and
# documents each block.

nearest "every vantage is given addresses of the nearest PoP" {
  name  = "www.shop.example"
  types = ["A", "AAAA"]
}

connections "connections reach the nearest PoP" {
  url   = "http://www.shop.example/style.css"
  each  = 4
  share = 0.99
}

delays "a connection takes the delay of its way" {
  url    = "http://%s.edge.cdn.example/"
  within = 0.15
  floor  = "12ms"
}

stored "the second fetch is a hit, faster by the way to the origin" {
  url = "http://www.shop.example/product/5?for=%s"
}

private "what was made for one is not given to another" {
  url = "http://www.shop.example/greeting"
}

death "an edge whose process dies" {
  fault = "kill"
  name  = "shop.cdn.example"
  url   = "http://www.shop.example/?kill=%d"
  gone  = "1.5s"

  gone_silent = "2.5s" # when the host disappears too, connections are not refused
}

death "an edge that freezes" {
  fault = "freeze"
  name  = "shop.cdn.example"
  url   = "http://www.shop.example/?freeze=%d"
  gone  = "2.5s"
}

death "an edge that is cut off" {
  fault = "cut"
  name  = "shop.cdn.example"
  url   = "http://www.shop.example/?cut=%d"
  gone  = "2.5s"
}

pop_lost "a PoP that is cut off" {
  name = "shop.cdn.example"
  gone = "2.5s"
}

origin_down "without the origin, what is stored is served" {
  stored  = "http://www.shop.example/"
  missing = "http://www.shop.example/product/7?missing=1"
}
