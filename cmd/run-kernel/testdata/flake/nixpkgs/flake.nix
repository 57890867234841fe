# A stand-in for nixpkgs, which can't be had without a network: of a NixOS
# configuration it looks at what a guest of run-kernel depends on, and makes the
# minimal system of it.
{
  outputs = { self }: {
    lib.nixosSystem = { modules }:
      let
        configuration = import (builtins.head modules) {
          lib.mkForce = value: value;
          pkgs = { gdb = null; python3 = null; strace = null; };
          modulesPath = "/modules";
        };
        virtiofs = builtins.filter
          (path: configuration.fileSystems.${path}.fsType == "virtiofs")
          (builtins.attrNames configuration.fileSystems);
      in
      assert !configuration.boot.kernel.enable;
      assert !configuration.boot.initrd.enable;
      assert configuration.fileSystems."/".fsType == "tmpfs";
      assert configuration.services.getty.autologinUser == "root";
      assert configuration.services.openssh.enable;
      assert !configuration.services.openssh.settings.PasswordAuthentication;
      {
        config.system.build.toplevel = derivation {
          name = "nixos-system-${configuration.networking.hostName}";
          system = configuration.nixpkgs.hostPlatform;
          builder = "${self}/busybox";
          args = [ "sh" "-e" "${self}/build" ];
          source = self;
          hostName = configuration.networking.hostName;
          mounts = map (path: "${configuration.fileSystems.${path}.device}:${path}") virtiofs;
        };
      };
  };
}
