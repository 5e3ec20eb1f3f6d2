// The Gateway API's resource definitions, as YAML files inside its Go module; nothing is compiled.
module crds

go 1.24.0

require sigs.k8s.io/gateway-api v1.6.1
