// Package main is the metrics server, a module of its own: it needs another version of the Kubernetes libraries.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	metrics "sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

func main() { os.Exit(cli.Run(metrics.NewMetricsServerCommand(make(chan struct{})))) }
