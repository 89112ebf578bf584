package client

import (
	"encoding/json"
	"os"
	"path/filepath"
)

const defaultAddress = "127.0.0.1:7401"

// FindAddress says where the orchestrator is: FORGEMESH_ADDRESS, the mesh whose data directory (.forgemesh) is nearest
// to the working directory, or 127.0.0.1:7401.
func FindAddress() string {
	if address := os.Getenv("FORGEMESH_ADDRESS"); address != "" {
		return address
	}
	folder, err := os.Getwd()
	for err == nil {
		if address := meshIn(folder); address != "" {
			return address
		}
		above := filepath.Dir(folder)
		if above == folder {
			break
		}
		folder = above
	}
	return defaultAddress
}

func meshIn(folder string) string {
	data, err := os.ReadFile(filepath.Join(folder, ".forgemesh", "mesh.json"))
	if err != nil {
		return ""
	}
	var mesh struct {
		Services map[string]struct {
			Address string `json:"address"`
		} `json:"services"`
	}
	if json.Unmarshal(data, &mesh) != nil {
		return ""
	}
	return mesh.Services["orchestrator"].Address
}
