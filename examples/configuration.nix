# The guest's NixOS. It lives in memory: each boot starts from what is written
# here. After a change, the next boot of run-kernel builds it anew.
{
  lib,
  pkgs,
  modulesPath,
  ...
}:
{
  # Neither documentation nor other things that a test machine doesn't need.
  imports = [ (modulesPath + "/profiles/minimal.nix") ];

  nixpkgs.hostPlatform = "x86_64-linux";

  # The release whose defaults hold for data that was kept. None is.
  system.stateVersion = "26.05";

  ## What run-kernel does already

  # The kernel is the one you build, and comes without an initrd of NixOS: run-kernel
  # mounts the root, a tmpfs, and starts the second stage.
  boot.kernel.enable = false;
  boot.initrd.enable = false;
  boot.loader.grub.enable = false;
  fileSystems."/" = {
    device = "none";
    fsType = "tmpfs";
    options = [ "mode=755" ];
  };
  # The root can be written from the beginning.
  systemd.services.systemd-remount-fs.enable = lib.mkForce false;

  ## Shares

  # A directory of the host, of run-kernel --share share:DIR. It is mounted when
  # something looks into it, so that a boot without the share is fine, too. For a share
  # with another tag, add another entry with that tag as its device.
  fileSystems."/mnt/share" = {
    device = "share";
    fsType = "virtiofs";
    options = [
      "nofail"
      "x-systemd.automount"
    ];
  };

  ## Users

  # Root has no password, and is logged in on the console. Nobody but this host's
  # user gets at either.
  users.mutableUsers = false;
  users.users.root.hashedPassword = "";
  services.getty.autologinUser = "root";

  ## Network

  # qemu's user-mode network gives out the address.
  networking.hostName = "run-kernel";
  networking.dhcpcd.wait = "background"; # the boot needn't
  networking.firewall.enable = false; # there are no packets but ours, and no netfilter in a small kernel

  # run-kernel --ssh makes a key for each boot, and puts it here. The port that it
  # forwards is open to all users of the host, so a password would be no use.
  services.openssh = {
    enable = true;
    authorizedKeysFiles = [ "/run/run-kernel/authorized_keys" ];
    settings = {
      PermitRootLogin = "prohibit-password";
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
    };
  };

  ## Programs

  environment.systemPackages = with pkgs; [
    gdb
    python3
    strace
  ];

  ## What only costs time

  nix.enable = false; # the system is built on the host
  services.lvm.enable = false;
  systemd.oomd.enable = false;

  # With this, the console shows the journal:
  # services.journald.console = "/dev/console";
}
